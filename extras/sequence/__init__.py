"""A transformer sequence model that the steps train as a recall channel: RECSYS_RECIPE=sequence."""
