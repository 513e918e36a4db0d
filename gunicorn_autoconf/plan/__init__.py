"""From declaration and machine to a plan with a reason for each number."""
