"""What several test modules share. Fixtures are in the conftest modules."""
