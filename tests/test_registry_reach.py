"""How far a result made with overrides gets, asked where the aliases are moved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from housing.domain.config import Params
from housing.domain.verdict import Verdict
from housing.errors import RegistryError
from housing.mlops.registry import aliases, promote, validate
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.tracked_run import OVERRIDES
from housing.settings import Settings
from tests.synthetic import Workspace, houses, make_params, under_model


@dataclass(frozen=True)
class Case:
    """A result that passed the gate, made with overrides, in a project with auto_champion."""

    plain: Settings
    params: Params
    verdict: Verdict

    def held(self) -> dict[str, str]:
        found = aliases(self.plain, self.params)
        return {alias: version.version for alias, version in found.items()}

    def tag(self, value: str) -> None:
        with connected(self.plain) as client:
            client.set_tag(self.verdict.run_id, OVERRIDES, value)


@pytest.fixture(scope="module")
def case(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Case:
    params = under_model(make_params(), "reach-price")
    registry = params.registry.model_copy(update={"auto_champion": True})
    params = params.model_copy(update={"registry": registry})
    made = Workspace(tmp_path_factory.mktemp("reach"), mlflow_server, "reach", params)
    made.make(houses())
    with_overrides = made.settings.model_copy(update={"overrides": ("train.xgboost.max_depth=8",)})
    verdict = validate(with_overrides, params)
    assert verdict.passed, verdict.reasons
    return Case(made.settings, params, verdict)


def test_what_shapes_the_evidence_is_not_promoted(case: Case) -> None:
    case.tag("train.xgboost.max_depth=8\nseed=8")
    with pytest.raises(RegistryError, match="overrides of seed"):
        promote(case.plain, case.params, case.verdict)
    assert case.held() == {}


def test_the_run_in_mlflow_tells_of_overrides_and_they_never_reach_the_champion(
    case: Case,
) -> None:
    case.tag("train.xgboost.max_depth=8")
    promotion = promote(case.plain, case.params, case.verdict)
    assert (promotion.alias, promotion.moved) == ("staging", True)
    assert case.held() == {"staging": "1"}
    staging = aliases(case.plain, case.params)["staging"]
    assert staging.overrides == ("train.xgboost.max_depth=8",)


def test_a_result_that_the_project_itself_makes_is_one_without_overrides(case: Case) -> None:
    verdict = validate(case.plain, case.params)
    assert verdict.passed, verdict.reasons
    promote(case.plain, case.params, verdict)
    assert case.held() == {"staging": "1", "champion": "1"}
    assert aliases(case.plain, case.params)["champion"].overrides == ()


def test_the_process_tells_of_overrides_where_mlflow_does_not(case: Case) -> None:
    params = under_model(case.params, "reach-price-again")
    case = replace(case, params=params)
    overridden = case.plain.model_copy(update={"overrides": ("train.xgboost.max_depth=8",)})
    promote(overridden, params, validate(overridden, params))
    assert case.held() == {"staging": "1"}
