"""The problems of DeepOBS 1.2 (Schneider, Balles & Hennig 2019, arXiv 1903.05499), as its TensorFlow code defines them.

Models, initial weights, losses, splits, batch sizes and epochs are DeepOBS's. Two things differ. Its batches leave out what
remains of an epoch, fdl's go on into the next epoch, so that every example is seen; a run has as many steps as there. And
it measures on whole batches (9,984 of 10,000 test images), fdl on every example.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fdl import data, losses, models, nn
from fdl.data import Dataset, Split
from fdl.nn import Layer
from fdl.tasks._task import Task

Folder = str | Path | None


def quadratic_deep() -> Task:
    """`quadratic_deep`: a noisy quadratic in 100 dimensions with the spectrum of a deep net's Hessian, 100 epochs.

    The mean over a batch of `(theta - x)^T Q (theta - x) / 2`, from `theta = 1`, with `quadratic_deep_hessian` as `Q`.
    """
    hessian = quadratic_deep_hessian().astype(np.float32)

    def loss(theta: jax.Array, points: jax.Array) -> jax.Array:
        away = theta[None] - points
        return (0.5 * (away @ jnp.asarray(hessian, away.dtype)) * away).sum(-1).mean()

    return Task(
        "quadratic-deep", data.quadratic(), models.Point(100), loss, metrics={},
        batch_size=128, steps=700, evaluate_every=7, objective="loss", maximise=False,
    )  # fmt: skip


@cache
def quadratic_deep_hessian() -> np.ndarray:
    """`R^T diag(e) R`, float64 `[100, 100]`: 90 eigenvalues uniform in 0..1, 10 in 30..60, and a rotation from the Haar measure.

    All are drawn, in this order, from one `RandomState(42)`. The rotation comes by the subgroup algorithm of Diaconis &
    Shahshahani 1987: one in the plane is carried to ever more dimensions, each time reflected so that the first axis falls
    on a random direction.
    """
    random = np.random.RandomState(42)
    eigenvalues = np.concatenate([random.uniform(0, 1, 90), random.uniform(30, 60, 10)])
    angle = 2 * np.pi * random.uniform()
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for size in range(3, 101):
        direction = random.normal(size=size)
        mirror = np.eye(1, size)[0] - direction / np.linalg.norm(direction)
        mirror /= np.linalg.norm(mirror)
        rotation = np.pad(rotation, ((1, 0), (1, 0)))
        rotation[0, 0] = 1
        rotation -= 2 * np.outer(mirror, mirror @ rotation)
    return rotation.T @ np.diag(eigenvalues) @ rotation  # the sign, which makes the determinant 1, falls out


def _images(name: str, dataset: Dataset, model: Layer, epochs: int, batch_size: int = 128, **options: object) -> Task:
    """A classification problem in batches of 128, or as said, measured after each of DeepOBS's epochs."""
    every = len(dataset.train) // batch_size
    return Task(name, dataset, model, batch_size=batch_size, steps=epochs * every, evaluate_every=every, **options)  # type: ignore[arg-type]


def mnist_logreg(folder: Folder = None) -> Task:
    """`mnist_logreg`: logistic regression on MNIST, 50 epochs."""
    return _images("mnist-logreg", data.mnist(folder), models.deepobs_logreg(), 50)


def mnist_mlp(folder: Folder = None) -> Task:
    """`mnist_mlp`: four dense layers on MNIST, 100 epochs."""
    return _images("mnist-mlp", data.mnist(folder), models.deepobs_mlp(), 100)


def mnist_2c2d(folder: Folder = None) -> Task:
    """`mnist_2c2d`: two convolutional and two dense layers on MNIST, 100 epochs."""
    return _images("mnist-2c2d", data.mnist(folder), models.deepobs_2c2d(), 100)


def fmnist_logreg(folder: Folder = None) -> Task:
    """`fmnist_logreg`: logistic regression on Fashion-MNIST, 50 epochs."""
    return _images("fmnist-logreg", data.fashion_mnist(folder), models.deepobs_logreg(), 50)


def fmnist_mlp(folder: Folder = None) -> Task:
    """`fmnist_mlp`: four dense layers on Fashion-MNIST, 100 epochs."""
    return _images("fmnist-mlp", data.fashion_mnist(folder), models.deepobs_mlp(), 100)


def fmnist_2c2d(folder: Folder = None) -> Task:
    """`fmnist_2c2d`: two convolutional and two dense layers on Fashion-MNIST, 100 epochs."""
    return _images("fmnist-2c2d", data.fashion_mnist(folder), models.deepobs_2c2d(), 100)


def cifar10_3c3d(folder: Folder = None) -> Task:
    """`cifar10_3c3d`: three convolutional and three dense layers on augmented CIFAR-10, 100 epochs.

    `0.002 / 2` times the kernels' squared norm is part of the loss, also of the recorded one.
    """
    model = models.deepobs_3c3d(before=models.CifarInput())
    return _images("cifar10-3c3d", data.cifar10(folder), model, 100, penalty=losses.L2(0.002))


def cifar100_allcnnc(folder: Folder = None) -> Task:
    """`cifar100_allcnnc`: All-CNN-C on augmented CIFAR-100, 350 epochs of batches of 256.

    `0.0005 / 2` times the kernels' squared norm is part of the loss, also of the recorded one.
    """
    model = nn.Sequential(models.CifarInput(), *models.all_cnn_c(100).layers)
    return _images("cifar100-allcnnc", data.cifar100(folder), model, 350, 256, penalty=losses.L2(5e-4))


def svhn_wrn164(folder: Folder = None) -> Task:
    """`svhn_wrn164`: a wide residual network on augmented SVHN, 160 epochs.

    `0.0005 / 2` times the kernels' squared norm is part of the loss, also of the recorded one. DeepOBS uses the first 64,000
    of the 73,257 training images, of which as many as for test are held out here: 37,968 remain.
    """
    dataset = data.svhn(folder)
    first = jax.tree.map(lambda a: a[: 64_000 - len(dataset.validation)], dataset.train)
    source = f"{dataset.source}; of the rest the last 9,257 are left out"
    model = nn.Sequential(models.CifarInput(flip=False), *models.wide_resnet(16, 4).layers)
    return _images("svhn-wrn164", replace(dataset, train=first, source=source), model, 160, penalty=losses.L2(5e-4))


def mnist_vae(folder: Folder = None) -> Task:
    """`mnist_vae`: a variational autoencoder of MNIST, 50 epochs of batches of 64."""
    return _autoencoder("mnist-vae", data.mnist(folder), 50)


def fmnist_vae(folder: Folder = None) -> Task:
    """`fmnist_vae`: a variational autoencoder of Fashion-MNIST, 100 epochs of batches of 64."""
    return _autoencoder("fmnist-vae", data.fashion_mnist(folder), 100)


def _autoencoder(name: str, labelled: Dataset, epochs: int) -> Task:
    """The images are their own labels."""
    train, validation, test = (Split(split.inputs, split.inputs[0]) for split in (labelled.train, labelled.validation, labelled.test))
    dataset = replace(labelled, train=train, validation=validation, test=test, classes=None)
    return _images(name, dataset, models.deepobs_vae(), epochs, 64, loss_fn=vae_loss, metrics={}, objective="loss", maximise=False)


def vae_loss(outputs: tuple[jax.Array, jax.Array, jax.Array], images: jax.Array) -> jax.Array:
    """The mean over a batch of the squared error, summed over pixels, plus the divergence of the latent from a standard normal."""
    reconstruction, means, log_variances = outputs
    pixels = images[0].size
    return pixels * losses.mean_squared_error(reconstruction, images) + losses.gaussian_kl(means, log_variances)
