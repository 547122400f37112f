"""``pinwheel template``: import, export and list."""

from __future__ import annotations

from support.command import TEMPLATE

SMALLER = TEMPLATE.replace('[[datastream]]\nid = 2\npin = "V1"\nname = "Mode"\ntype = "integer"\n', "")


def test_import_of_an_unchanged_template_changes_nothing(any_hub):
    done = any_hub.import_template()

    assert (0, "TMPL0cli Weather: nothing to change\n", "") == done
    assert [] == any_hub.import_template(TEMPLATE, "--json").json[0]["changes"]


def test_exported_template_equals_the_imported_one(any_hub):
    exported = any_hub("template", "export", "TMPL0cli")
    assert (0, "") == (exported.code, exported.err)

    assert "TMPL0cli Weather: nothing to change\n" == any_hub.import_template(exported.out).out
    assert exported == any_hub("template", "export", "TMPL0cli")


def test_datastream_is_dropped_only_with_prune(any_hub):
    text, smaller = (t.replace("TMPL0cli", "TMPL0prune").replace("Weather", "Prune") for t in (TEMPLATE, SMALLER))
    assert 0 == any_hub.import_template(text).code
    rejected = any_hub.import_template(smaller)
    assert (1, "") == (rejected.code, rejected.out)
    assert "Mode" in rejected.err
    assert "--prune" in rejected.err
    pruned = any_hub.import_template(smaller, "--prune")

    assert (0, "") == (pruned.code, pruned.err)
    assert "Mode" in pruned.out
    assert {"TMPL0prune": 1} == {
        template["id"]: template["datastreams"]
        for template in any_hub("template", "list", "--json").json
        if template["id"] == "TMPL0prune"
    }


def test_templates_are_listed_as_a_table(any_hub):
    done = any_hub("template", "list")

    assert (0, "") == (done.code, done.err)
    assert ["ID", "NAME", "DATASTREAMS", "DEVICES"] == done.out.splitlines()[0].split()
    assert [["TMPL0cli", "Weather", "2"]] == [
        line.split()[:3] for line in done.out.splitlines() if line.startswith("TMPL0cli ")
    ]


def test_valid_templates_are_imported_beside_invalid_ones_whose_errors_are_reported(any_hub):
    (any_hub.folder / "bad.toml").write_text('[template]\nname = ""\n[[datastream]]\npin = "V256"\nname = "a/b"\n')
    (any_hub.folder / "good.toml").write_text('[template]\nid = "TMPL0good"\nname = "Good"\n')
    done = any_hub("template", "import", "bad.toml", "missing.toml", "good.toml")

    assert 1 == done.code
    assert "TMPL0good Good" in done.out
    for text in ("missing.toml", "V256", "a/b"):
        assert 1 == len([line for line in done.err.splitlines() if text in line]), text
    assert {True} == {line.startswith("pinwheel: ") for line in done.err.splitlines()}


def test_shipped_template_is_imported_by_name(any_hub):
    listed = any_hub("template", "list", "--shipped", "--json").json
    assert {"weather-station", "asset-tracker", "mqtt-thermostat"} <= {template["name"] for template in listed}
    assert "asset-tracker" in any_hub("template", "list", "--shipped").out
    done = any_hub("template", "import", "asset-tracker")
    assert (0, "") == (done.code, done.err)
    assert done.out.startswith("TMPL0tracker0 Asset tracker\n")
    unknown = any_hub("template", "import", "no-such-template")
    assert (1, "no-such-template: No such file or directory") == (unknown.code, unknown.error)


def test_unknown_template_is_reported_in_one_line(any_hub):
    for arguments in (("template", "export", "TMPL0none"), ("device", "add", "--template", "TMPL0none", "--name", "X")):
        done = any_hub(*arguments)

        assert 1 == done.code
        assert "emplate" in done.error
