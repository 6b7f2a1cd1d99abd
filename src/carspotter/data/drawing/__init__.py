"""Cars drawn with code: the models, the camera, the scenes. `data/synthetic.py` makes a lot of them."""
