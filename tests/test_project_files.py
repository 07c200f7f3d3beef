"""What people look for beside the code: how to cite fdet, what has changed, how to report a bug."""

import re
from pathlib import Path

import pytest
import yaml

import fdet

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_has_the_form_of_keep_a_changelog():
    text = (ROOT / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, flags=re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert all(date and re.fullmatch(r"\d+\.\d+\.\d+", version) for version, date in releases[1:])
    assert set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE)) <= KINDS
    # A release of this version has its own heading; before it, the text names the version.
    assert fdet.__version__ in text


def test_the_citation_names_the_software_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["title"] == "fdet"
    assert {"message", "authors", "license"} <= set(citation)
    (paper,) = citation["references"]
    assert paper["year"] == 2022 and len(paper["authors"]) == 3
    assert "2204.00484" in paper["url"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_of_an_issue_is_a_form(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert form == {"blank_issues_enabled": False}
        return
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"]]
    assert len(set(ids)) == len(ids)
    assert {part["type"] for part in form["body"]} <= {"textarea", "checkboxes"}


def test_a_report_of_a_bug_needs_what_doctor_says():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    (doctor,) = [part for part in form["body"] if part["id"] == "doctor"]
    assert "`fdet doctor --json`" in doctor["attributes"]["label"]
    assert doctor["validations"]["required"]


@pytest.mark.parametrize("name", ["CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "README.md"])
def test_links_between_files_lead_somewhere(name):
    links = re.findall(r"\]\(([^()\s#:]+)(?:#[^()]*)?\)", (ROOT / name).read_text())
    assert not [link for link in links if not (ROOT / link).exists()]
