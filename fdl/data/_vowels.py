from importlib import resources

import numpy as np

from fdl.data._dataset import Dataset, Split, standardise


def vowels() -> Dataset:
    """Japanese Vowels: 640 series of 7 to 29 frames of 12 cepstrum coefficients, by nine speakers, to be told apart.

    The original 370 test series; of the original 270 training series 6 of each speaker's 30 make the validation split.
    Coefficients are standardised with mean and deviation of the training frames, then padded with 0. Inputs: float32
    `[examples, 29, 12]` and lengths int32 `[examples]`; labels int32.

    Kudo, Toyama & Shimbo 1999, "Multidimensional curve classification using passing-through regions".
    """
    from sklearn.model_selection import train_test_split

    with resources.files("fdl.data").joinpath("files/japanese_vowels.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        frames, lengths, speakers = archive["x"], archive["l"].astype(np.int32), archive["y"].astype(np.int32)
    first = np.cumsum(lengths) - lengths
    fit, validation = train_test_split(np.arange(270), test_size=54, stratify=speakers[:270], random_state=0)
    in_train = np.zeros(len(lengths), bool)
    in_train[fit] = True
    _, frames = standardise(frames[np.repeat(in_train, lengths)], frames, axis=0)
    series = np.zeros((len(lengths), lengths.max(), frames.shape[1]), np.float32)
    for row, start, length in zip(series, first, lengths):
        row[:length] = frames[start : start + length]
    take = lambda rows: Split((series[rows], lengths[rows]), speakers[rows])
    splits = take(np.sort(fit)), take(np.sort(validation)), take(np.arange(270, 640))
    source = "UCI Japanese Vowels, doi:10.24432/C5NS47"
    return Dataset("Japanese Vowels", *splits, classes=9, source=source, licence="CC BY 4.0")
