"""The paper's training scheme: recipes, the two stages' losses, and the loop that runs them."""
