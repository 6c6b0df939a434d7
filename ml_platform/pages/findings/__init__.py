"""Registry health: findings and their repairs."""
