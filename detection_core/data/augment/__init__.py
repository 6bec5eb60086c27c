"""Random changes of training images. All randomness comes from the generator that is passed in, so an image can be made again."""
