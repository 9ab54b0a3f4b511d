"""The laboratory: recipes, plans, the graph of what they ask for, the store, batches, the page. It knows no science."""
