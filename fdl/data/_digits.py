import numpy as np

from fdl.data._dataset import Dataset, Split, standardise


def digits() -> Dataset:
    """Handwritten digits: 1,797 grey images of 8 x 8 pixels in ten classes, embedded in scikit-learn.

    A fixed split, equal in classes, into 1,077 training, 360 validation and 360 test images; pixels are standardised with
    mean and deviation of the training images. Inputs float32 `[examples, 8, 8, 1]`, labels int32.

    The images are the test set of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    rest, test, y_rest, y_test = train_test_split(x, y, test_size=360, stratify=y, random_state=0)
    train, validation, y_train, y_validation = train_test_split(rest, y_rest, test_size=360, stratify=y_rest, random_state=0)
    images = [a.reshape(-1, 8, 8, 1) for a in standardise(train, validation, test)]
    labels = [a.astype(np.int32) for a in (y_train, y_validation, y_test)]
    fit, choose, judge = (Split((x,), y) for x, y in zip(images, labels))
    source = "UCI Optical Recognition of Handwritten Digits, doi:10.24432/C50P49, as embedded in scikit-learn"
    return Dataset("digits", fit, choose, judge, classes=10, source=source, licence="CC BY 4.0")
