"""Synthetic photographs of toys: textures, toys, grounds and the scenes made of them."""
