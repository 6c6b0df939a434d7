"""All calls to Google. Values in and out are typed; neither protobuf messages nor our tables."""
