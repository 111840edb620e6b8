"""Runs Django's tests of backends, and prints what came of each, as JSON."""

import json
import sys
import unittest
from typing import Any

import django
from django.test.utils import setup_test_environment

django.setup()
setup_test_environment()


class Outcomes(unittest.TestResult):
    """Which tests there were, and which did not pass, with the last line of why."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, str] = {}

    def stopTest(self, test: Any) -> None:  # noqa: N802 - unittest's name
        self.told.setdefault(test.id(), "")

    def _bad(self, test: Any, error: Any) -> None:
        name = getattr(test, "test_case", test).id()  # of a subtest
        self.told[name] = f"{error[0].__name__}: {error[1]}"

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self._bad(test, err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._bad(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._bad(subtest, err)


outcomes = Outcomes()
unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:]).run(outcomes)
json.dump(outcomes.told, sys.stdout)
