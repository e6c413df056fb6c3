"""The methods, a module each: its name, with dashes, is ``network.method`` in a recipe, its class is ``METHOD``."""
