"""How good the recommendations are: metrics, baselines and the offline replay of what users went on to like."""
