"""Images by column, through the command."""

import json
from pathlib import Path

from .command import Command, Mock, lines_of


def test_an_image_goes_along_and_its_content_is_in_the_key(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    picture = tmp_path / "pictures" / "a.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n one")
    rows = [{"id": "a", "file": "a.png", "q": "what?"}, {"id": "b", "file": "b.png", "q": "what?"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = ("run", "rows.jsonl", "-t", "{{ q }}", "--image", "file", "--root", "pictures", *mock("-o", "out.jsonl"))
    assert llmbatch(*run, "--include", "request").code == 1
    good, bad = sorted(lines_of(tmp_path / "out.jsonl"), key=lambda line: str(line["id"]))
    assert good["request"]["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert good["meta"] == {"file": "a.png", "q": "what?"}
    assert bad["error"]["kind"] == "invalid_record" and "'b.png': No such file" in bad["error"]["message"]
    assert bad["attempts"] == 0
    picture.write_bytes(b"\x89PNG\r\n\x1a\n two")
    changed = llmbatch(*run)
    assert changed.code == 2 and "--changed" in changed.stderr
    assert llmbatch("run", *mock("--root", "."), stdin=["x"]).code == 2
