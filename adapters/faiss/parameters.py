"""Effort of searches: for one call (`SearchParameters`), or on an index by name (`ParameterSpace`).

Every index takes any of these classes and uses what it knows, through all wrappers: a filter goes to whoever
searches rows, `nprobe` to inverted lists, `efSearch` to graphs, `k_factor` to refinements.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from .attributes import Declared
from .errors import IndexOperationError


class SearchParameters(Declared):
    """A filter for one search.

    Parameters
    ----------
    sel : IDSelector, mask, labels, or a list of these, optional
        Which rows may be returned. A mask is boolean by label; a list has one entry a query, None for all
        rows.
    """

    #: Where parameters of the index inside lie.
    NESTED: ClassVar[tuple[str, ...]] = ()
    #: What FAISS knows and nothing here has a use for: queues have one form, and the search for the nearest
    #: centres needs no effort.
    UNUSED: ClassVar[tuple[str, ...]] = ()

    sel: Any = None

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            if name not in self._declared or name in ("NESTED", "UNUSED"):
                known = ", ".join(sorted(self._declared - {"NESTED", "UNUSED"}))
                raise TypeError(f"{type(self).__name__} has no field {name!r}; it has {known}")
            setattr(self, name, value)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({given})"


class SearchParametersIVF(SearchParameters):
    """How many inverted lists a search reads.

    Parameters
    ----------
    sel
        See `SearchParameters`.
    nprobe : int
        Lists.
    max_codes : int
        Rows, about: no more lists than hold so many on average; 0 for no limit.
    quantizer_params
        Accepted: the search for the nearest lists needs no parameters.
    """

    UNUSED = ("quantizer_params",)

    nprobe: int | None = None
    max_codes: int | None = None
    quantizer_params: SearchParameters | None = None


class SearchParametersHNSW(SearchParameters):
    """How many rows a walk keeps in view.

    Parameters
    ----------
    sel
        See `SearchParameters`.
    efSearch : int
        Rows in view, k at least.
    check_relative_distance, bounded_queue : bool
        Accepted: walks here have one way to end and one queue.
    """

    UNUSED = ("check_relative_distance", "bounded_queue")

    efSearch: int | None = None
    check_relative_distance: bool = True
    bounded_queue: bool = True


class SearchParametersPreTransform(SearchParameters):
    """Parameters of the index behind a transform.

    Parameters
    ----------
    sel
        See `SearchParameters`.
    index_params : SearchParameters
        Of the index inside.
    """

    NESTED = ("index_params",)

    index_params: SearchParameters | None = None


class IndexRefineSearchParameters(SearchParameters):
    """How many candidates are refined.

    Parameters
    ----------
    sel
        See `SearchParameters`.
    k_factor : float
        Candidates for each result.
    base_index_params : SearchParameters
        Of the index that finds them.
    """

    NESTED = ("base_index_params",)

    k_factor: float | None = None
    base_index_params: SearchParameters | None = None


SearchParametersGraph = SearchParametersHNSW
IVFSearchParameters = IVFPQSearchParameters = SearchParametersIVF
SearchParametersPQ = SearchParameters


def unpacked(params: SearchParameters | None) -> tuple[Any, dict[str, Any]]:
    """Return the filter of parameters and of those nested in them, and their efforts by name."""
    if params is None:
        return None, {}
    if not isinstance(params, SearchParameters):
        raise TypeError(f"params must be SearchParameters, not {type(params).__name__}")
    sel: Any = None
    effort: dict[str, Any] = {}
    for name in params.NESTED:
        sel, effort = unpacked(getattr(params, name))
    for name, value in vars(params).items():
        if value is not None and name != "sel" and name not in params.NESTED + params.UNUSED:
            effort[name] = value
    return params.sel if params.sel is not None else sel, effort


class ParameterSpace:
    """Set the parameters of an index, and of what is inside it, by name."""

    def set_index_parameter(self, index: Any, name: str, value: float) -> None:
        """Set one parameter on whatever index inside this one knows it.

        Raises
        ------
        RuntimeError
            When none does.
        """
        if not _set(index, name, value):
            raise IndexOperationError(f"there is no parameter {name!r} in a {type(index).__name__}")

    def set_index_parameters(self, index: Any, description: str | Mapping[str, float]) -> None:
        """Set several: "nprobe=16,quantizer_efSearch=64"."""
        if isinstance(description, Mapping):
            pairs = [(name, str(value)) for name, value in description.items()]
        else:
            parts = [part.partition("=") for part in description.replace(" ", "").split(",") if part]
            pairs = [(name, value) for name, _, value in parts]
        for name, text in pairs:
            try:
                value = float(text)
            except ValueError:
                raise IndexOperationError(f"{name}={text}: the value of a parameter is a number") from None
            self.set_index_parameter(index, name, value)


def _set(index: Any, name: str, value: float) -> bool:
    """Set a parameter on an index, or on what is inside it; tell whether anything knew it."""
    if name == "verbose":
        index.verbose = bool(value)
        return True
    if name.startswith("quantizer_"):
        inner = getattr(index, "quantizer", None)
        if inner is not None:
            return _set(inner, name.removeprefix("quantizer_"), value)
    elif name in index.EFFORT:
        setattr(index, index.EFFORT[name], value if name.startswith("k_factor") else int(value))
        return True
    return any([_set(part, name, value) for part in index.parts()])
