"""``pinwheel backup``: files that it may overwrite."""

from __future__ import annotations


def test_backup_overwrites_only_a_backup_and_only_with_force(pinwheel):
    assert 0 == pinwheel("org", "add", "Acme").code
    assert 0 == pinwheel("backup", "monday.tar").code
    before = (pinwheel.folder / "monday.tar").read_bytes()
    rejected = pinwheel("backup", "monday.tar")
    assert (1, "monday.tar exists already; name another file, or overwrite it with --force") == (
        rejected.code,
        rejected.error,
    )
    assert before == (pinwheel.folder / "monday.tar").read_bytes()
    assert 0 == pinwheel("backup", "monday.tar", "--force").code
    assert before != (pinwheel.folder / "monday.tar").read_bytes()
    # A file that is not a backup is never overwritten.
    (pinwheel.folder / "letter.txt").write_text("precious")
    assert "exists and is not a backup" in pinwheel("backup", "letter.txt", "--force").error
    assert "precious" == (pinwheel.folder / "letter.txt").read_text()
