"""What is built on the three stages. No tool imports another."""
