"""What a recipe is made of: rules, the facts they look at, and predicates over those facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ggufkit.types import FileType, TensorType


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule's predicate may look at: the tensor's place and the model around it.

    Attributes
    ----------
    layer, n_layers : int
        Position among the tensors of its role, in file order, and how many there are.
    arch : str
        ``general.architecture``.
    gqa : int
        Query heads per key-value head; 0 where there is none.
    n_expert : int
        Experts per block; 0 for a dense model.
    is_70b : bool
        The llama 70B shape: 80 blocks and grouped heads.
    has_imatrix : bool
        Whether an importance matrix is given.
    n_matrices : int
        Matrices stacked in the tensor: more than 1 for experts.
    """

    layer: int = 0
    n_layers: int = 0
    arch: str = ""
    gqa: int = 1
    n_expert: int = 0
    is_70b: bool = False
    has_imatrix: bool = False
    n_matrices: int = 1


Predicate = Callable[[RuleContext], bool]


@dataclass(frozen=True)
class RecipeRule:
    """Tensors of `role` ('*' for any) get `type` where `when` holds."""

    role: str
    type: TensorType
    when: Predicate | None = None

    def matches(self, role: str, facts: RuleContext) -> bool:
        """Whether the rule speaks of this tensor."""
        return self.role in (role, "*") and (self.when is None or self.when(facts))

    def __str__(self) -> str:
        if self.when is None:
            return f"{self.role} is {self.type.name}"
        return f"{self.role} is {self.type.name} where {self.when.__name__.replace('_', ' ')}"


@dataclass(frozen=True)
class Recipe:
    """A file type: its base type, the output tensor's type, and the rules that deviate.

    Attributes
    ----------
    name : str
        The file type's name, as llama-quantize takes it.
    base : TensorType
        Type of every tensor that no rule speaks of.
    output : TensorType
        Type of ``output.weight``, or of the token embeddings that serve as output.
    rules : tuple of RecipeRule
        First match wins.
    types : mapping of str to TensorType
        Types of single tensors, by name; they come before the rules.
    like : str
        The file type that the file says it is; by default `name`.
    """

    name: str
    base: TensorType
    output: TensorType
    rules: tuple[RecipeRule, ...] = ()
    types: Mapping[str, TensorType] = field(default_factory=dict)
    like: str = ""

    @property
    def file_type(self) -> FileType:
        """The value of ``general.file_type``."""
        return FileType[self.like or self.name]

    def match(self, role: str, facts: RuleContext) -> RecipeRule | None:
        """Return the first rule that speaks of the tensor; None means the base type."""
        return next((rule for rule in self.rules if rule.matches(role, facts)), None)


def both(a: Predicate, b: Predicate) -> Predicate:
    """Return a predicate that holds where `a` and `b` hold."""

    def holds(f: RuleContext) -> bool:
        return a(f) and b(f)

    holds.__name__ = f"{a.__name__} and {b.__name__}"
    return holds


def more_bits(f: RuleContext) -> bool:
    """First and last eighth of the layers, and every third between (``use_more_bits``)."""
    eighth = f.n_layers // 8
    return f.layer < eighth or f.layer >= 7 * f.n_layers // 8 or (f.layer - eighth) % 3 == 2


def first_eighth(f: RuleContext) -> bool:
    """In the first eighth of the layers."""
    return f.layer < f.n_layers // 8


def first_sixteenth(f: RuleContext) -> bool:
    """In the first sixteenth of the layers."""
    return f.layer < f.n_layers // 16


def middle(f: RuleContext) -> bool:
    """Neither in the first nor in the last eighth of the layers."""
    return f.n_layers // 8 <= f.layer < 7 * f.n_layers // 8


def first_2(f: RuleContext) -> bool:
    """Among the first two tensors of the role."""
    return f.layer < 2


def first_4(f: RuleContext) -> bool:
    """Among the first four tensors of the role."""
    return f.layer < 4


def grouped_heads(f: RuleContext) -> bool:
    """Four or more query heads share a key-value head."""
    return f.gqa >= 4


def grouped_heads_or_experts(f: RuleContext) -> bool:
    """Four or more query heads per key-value head, or four or more experts."""
    return f.gqa >= 4 or f.n_expert >= 4


def eight_experts(f: RuleContext) -> bool:
    """A mixture of exactly eight experts."""
    return f.n_expert == 8


def expert_stack(f: RuleContext) -> bool:
    """The tensor stacks the matrices of several experts."""
    return f.n_matrices > 1


def falcon(f: RuleContext) -> bool:
    """The falcon architecture."""
    return f.arch == "falcon"


def not_falcon(f: RuleContext) -> bool:
    """Any architecture but falcon."""
    return f.arch != "falcon"


def not_eight_experts(f: RuleContext) -> bool:
    """Anything but a mixture of eight experts."""
    return f.n_expert != 8


def imatrix_given(f: RuleContext) -> bool:
    """An importance matrix is given."""
    return f.has_imatrix


def no_imatrix(f: RuleContext) -> bool:
    """No importance matrix is given."""
    return not f.has_imatrix
