"""What several pages share: buttons and the query string."""
