"""What is declared and what the machine grants, to a plan with a reason for each number."""
