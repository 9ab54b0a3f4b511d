"""What people read: the table and the page of a plan."""
