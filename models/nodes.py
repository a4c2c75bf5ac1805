"""Decide whether arrays of nodes are trees: every walk from a root ends in a leaf, soon, and with a finite value."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_DEPTH = 64
"""TreeSHAP recurses, and keeps (depth + 2)² / 2 path elements: a chain of nodes would exhaust its stack."""

NO_CHILD = -1
NO_PARENT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Nodes:
    """The n nodes of all trees, tree by tree: ``sizes`` (trees,) says how many each has, its root first.

    ``left``, ``right`` and ``parent`` (n,) count from the root of their own tree. ``deleted`` nodes were pruned and
    hang on nothing. ``threshold_or_leaf`` (n,) float32: the value of a leaf, or what the ``feature`` is compared with.
    ``hessian`` (n,) float32 is the weight of the training rows that came by.
    """

    sizes: NDArray[np.int64]
    deleted: int
    features: int
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    parent: NDArray[np.int64]
    feature: NDArray[np.int64]
    default_left: NDArray[np.int64]
    threshold_or_leaf: NDArray[np.float32]
    hessian: NDArray[np.float32]

    @property
    def roots(self) -> NDArray[np.int64]:
        """(trees,) the index of each root."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def inner(self) -> NDArray[np.bool_]:
        """(n,) whether the node splits; the others are leaves."""
        return np.asarray(self.left != NO_CHILD)


def node_problem(nodes: Nodes) -> str | None:
    """What is wrong with the trees, or None."""
    inner, size = nodes.inner, np.repeat(nodes.sizes, nodes.sizes)
    pairs = np.stack([nodes.left, nodes.right])
    if (nodes.right[~inner] != NO_CHILD).any() or ((pairs < 1) | (pairs >= size))[:, inner].any():
        return "a child lies outside its tree"
    children = pairs + np.repeat(nodes.roots, nodes.sizes)
    # No root is a child, and no node the child of two: whatever can be reached from a root is then a tree.
    if (np.bincount(children[:, inner].ravel(), minlength=len(inner)) > 1).any():
        return "a node is the child of two, or twice of one"
    reached = _reached(nodes, children)
    if reached is None:
        return f"a tree is deeper than {MAX_DEPTH}"
    if len(reached) - reached.sum() != nodes.deleted:
        return "some nodes hang on no tree"
    return _parent_problem(nodes, children) or _value_problem(nodes, reached)


def _reached(nodes: Nodes, children: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """(n,) whether a walk from a root can come to the node; None where walks go deeper than MAX_DEPTH."""
    inner, level = nodes.inner, nodes.roots
    reached = np.zeros(len(inner), np.bool_)
    for _ in range(MAX_DEPTH + 1):
        reached[level] = True
        level = children[:, level[inner[level]]].ravel()
        if not len(level):
            return reached
    return None


def _parent_problem(nodes: Nodes, children: NDArray[np.int64]) -> str | None:
    if (nodes.parent[nodes.roots] != NO_PARENT).any():
        return "a root has a parent"
    inner = nodes.inner
    mine = (np.arange(len(inner)) - np.repeat(nodes.roots, nodes.sizes))[inner]
    return "a child has another parent" if (nodes.parent[children[:, inner]] != mine).any() else None


def _value_problem(nodes: Nodes, reached: NDArray[np.bool_]) -> str | None:
    leaf, inner = reached & ~nodes.inner, reached & nodes.inner
    if ((nodes.feature < 0) | (nodes.feature >= nodes.features))[reached].any():
        return "a split asks for a feature that does not exist"
    if (nodes.default_left[inner] > 1).any():
        return "a split sends missing values nowhere"
    if not np.isfinite(nodes.threshold_or_leaf[leaf]).all():
        return "the value of a leaf is not finite"
    if np.isnan(nodes.threshold_or_leaf[inner]).any():
        return "a split compares with no number"
    if not (np.isfinite(nodes.hessian) & (nodes.hessian >= 0))[reached].all():
        return "the weight of a node is not finite"
    return None
