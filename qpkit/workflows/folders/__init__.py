"""Plain folders of images and masks as contract 1: pairs, what masks mean, splits, tiles."""
