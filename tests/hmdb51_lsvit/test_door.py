"""The door: what it names is what lies behind it, and importing it costs nothing."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hmdb51_lsvit

SOURCE = Path(hmdb51_lsvit.__file__)


def typed_names() -> dict[str, str]:
    """What the door imports for type checkers: name -> module."""
    imports = [node for node in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_names_are_the_same_for_python_and_for_type_checkers() -> None:
    assert hmdb51_lsvit.__all__ == sorted(hmdb51_lsvit._MODULES)
    typed = typed_names()
    assert {name: typed[name] for name in hmdb51_lsvit.__all__} == hmdb51_lsvit._MODULES
    assert dir(hmdb51_lsvit) == hmdb51_lsvit.__all__


@pytest.mark.parametrize("name", hmdb51_lsvit.__all__)
def test_every_name_leads_to_something_documented(name: str) -> None:
    found = getattr(hmdb51_lsvit, name)
    assert found is getattr(import_module(hmdb51_lsvit._MODULES[name]), name)
    assert len(inspect.getdoc(found) or "") > 20


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clip'"):
        _ = hmdb51_lsvit.Clip


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, hmdb51_lsvit as door; door.read_manifests; door.DataError; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_its_types_are_in_the_package() -> None:
    assert SOURCE.with_name("py.typed").is_file()
