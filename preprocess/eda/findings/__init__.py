"""What the page says of a data set: findings on its counts and its pictures, each with what to type."""
