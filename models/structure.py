"""Decide whether the bytes of a model are trees that XGBoost can walk, without showing them to XGBoost."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models import ubjson
from models.manifest import brief
from models.nodes import Nodes, node_problem
from schemas.errors import BadModelError

MAX_TREES = 20_000

_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_Integers = NDArray[np.integer]
_Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class _TreeParam:
    num_deleted: _Whole
    num_feature: _Whole
    num_nodes: _Whole
    size_leaf_vector: Annotated[int, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class _Tree:
    """One tree: an array each of what its nodes have. Leaves keep their value in ``split_conditions``."""

    id: _Whole
    left_children: _Integers
    right_children: _Integers
    parents: _Integers
    split_indices: _Integers
    split_type: _Integers
    default_left: _Integers
    split_conditions: _Floats
    base_weights: _Floats
    loss_changes: _Floats
    sum_hessian: _Floats
    categories: _Integers
    categories_nodes: _Integers
    categories_segments: _Integers
    categories_sizes: _Integers
    tree_param: _TreeParam

    def arrays(self) -> Iterator[tuple[NDArray[Any], str]]:
        """Each array that has one entry a node, with the kinds of number that may be in it."""
        for name in ("left_children", "right_children", "parents", "split_indices", "split_type", "default_left"):
            yield getattr(self, name), "iu"
        for name in ("split_conditions", "base_weights", "loss_changes", "sum_hessian"):
            yield getattr(self, name), "f"


@dataclass(frozen=True, slots=True)
class _ForestParam:
    num_trees: Annotated[int, msgspec.Meta(ge=1, le=MAX_TREES)]
    num_parallel_tree: Annotated[int, msgspec.Meta(ge=1, le=MAX_TREES)]


@dataclass(frozen=True, slots=True)
class _Forest:
    gbtree_model_param: _ForestParam
    iteration_indptr: tuple[_Whole, ...]
    tree_info: tuple[_Whole, ...]
    trees: tuple[_Tree, ...]
    # Of a dart booster, which XGBoost 3.4 calls gbtree, too: its trees do not simply add up.
    weight_drop: Annotated[tuple[float, ...], msgspec.Meta(max_length=0)] = ()


@dataclass(frozen=True, slots=True)
class _GradientBooster:
    name: Literal["gbtree"]
    model: _Forest


@dataclass(frozen=True, slots=True)
class _Objective:
    name: Literal["binary:logistic"]


@dataclass(frozen=True, slots=True)
class _LearnerParam:
    base_score: str
    num_class: Literal["0"]
    num_target: Literal["1"]
    num_feature: Annotated[int, msgspec.Meta(ge=1, le=100_000)]


@dataclass(frozen=True, slots=True)
class _Learner:
    feature_names: tuple[str, ...]
    feature_types: tuple[Literal["float", "int", "i", "q"], ...]
    gradient_booster: _GradientBooster
    learner_model_param: _LearnerParam
    objective: _Objective


@dataclass(frozen=True, slots=True)
class _Document:
    learner: _Learner
    version: tuple[int, int, int]


def check_structure(data: bytes, features: tuple[str, ...], source: str) -> None:
    """Raise BadModelError, naming ``source``, unless ``data`` holds well-formed trees over exactly ``features``.

    Well-formed: each node but the root is the child of one node that it names as its parent, so there are no cycles; no
    tree is deeper than ``MAX_DEPTH``; every split asks for a feature that exists; leaves and the base score are
    finite; and the model gives one log-odds of a binary target.
    """
    try:
        document = msgspec.convert(ubjson.decode(data), _Document, strict=False)
    except ubjson.UBJSONError as error:
        raise BadModelError(f"{source} is not a whole XGBoost model in UBJ: {error}") from error
    except msgspec.ValidationError as error:
        raise BadModelError(f"{source} is not a model of binary:logistic trees: {brief(error)}") from error
    problem = _problem(document.learner, features)
    if problem:
        raise BadModelError(f"{source} is damaged or forged: {problem}")


def _problem(learner: _Learner, features: tuple[str, ...]) -> str | None:
    if learner.feature_names != features:
        return "its features, or their order, are not those of its manifest"
    if learner.learner_model_param.num_feature != len(features):
        return f"it counts {learner.learner_model_param.num_feature} features and names {len(features)}"
    if len(learner.feature_types) not in (0, len(features)):
        return "it gives types to some features only"
    if not _is_probability(learner.learner_model_param.base_score):
        return "its base score is not a probability"
    forest = learner.gradient_booster.model
    return (
        _counting_problem(forest)
        or _shape_problem(forest.trees, len(features))
        or node_problem(_joined(forest.trees, len(features)))
    )


def _is_probability(base_score: str) -> bool:
    """Written as ``5E-1`` until XGBoost 3.0 and as ``[5E-1]`` since."""
    try:
        return 0 < float(base_score.removeprefix("[").removesuffix("]")) < 1
    except ValueError:
        return False


def _counting_problem(forest: _Forest) -> str | None:
    count = len(forest.trees)
    if forest.gbtree_model_param.num_trees != count:
        return f"it counts {forest.gbtree_model_param.num_trees} trees and has {count}"
    # The group that each tree adds to: with one output there is only group 0, and another is written past the end.
    if len(forest.tree_info) != count or any(forest.tree_info):
        return "its trees vote for more than one class"
    rounds = forest.iteration_indptr
    if len(rounds) < 2 or rounds[0] != 0 or rounds[-1] != count or any(b <= a for a, b in pairwise(rounds)):
        return "its rounds do not add up to its trees"
    return None


def _shape_problem(trees: tuple[_Tree, ...], features: int) -> str | None:
    for number, tree in enumerate(trees):
        nodes = tree.tree_param.num_nodes
        # XGBoost writes each tree to the place that its id says.
        if tree.id != number:
            return f"tree {number} goes by the id {tree.id}"
        if tree.tree_param.num_feature != features:
            return f"tree {number} is made for {tree.tree_param.num_feature} features"
        if nodes < 1 or any(len(array) != nodes or array.dtype.kind not in kinds for array, kinds in tree.arrays()):
            return f"the arrays of tree {number} do not have a number for each of {nodes} nodes"
        categories = (tree.categories, tree.categories_nodes, tree.categories_segments, tree.categories_sizes)
        if any(len(array) for array in categories) or tree.split_type.any():
            return f"tree {number} splits by category, and features are numbers"
    return None


def _joined(trees: tuple[_Tree, ...], features: int) -> Nodes:
    """The nodes of all trees, one after the other."""

    def integers(name: str) -> NDArray[np.int64]:
        return np.concatenate([getattr(tree, name) for tree in trees]).astype(np.int64)

    def floats(name: str) -> NDArray[np.float32]:
        return np.concatenate([getattr(tree, name) for tree in trees]).astype(np.float32)

    return Nodes(
        sizes=np.array([tree.tree_param.num_nodes for tree in trees]),
        deleted=sum(tree.tree_param.num_deleted for tree in trees),
        features=features,
        left=integers("left_children"),
        right=integers("right_children"),
        parent=integers("parents"),
        feature=integers("split_indices"),
        default_left=integers("default_left"),
        threshold_or_leaf=floats("split_conditions"),
        hessian=floats("sum_hessian"),
    )
