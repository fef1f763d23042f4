"""What a browser without a window says of a page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROBE = """<script>
window.addEventListener("load", () => {
  const images = [...document.images];
  const broken = images.filter(i => !i.naturalWidth).length;
  const fetched = performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length;
  const overflow = document.documentElement.scrollWidth - window.innerWidth;
  document.title = `images ${images.length} broken ${broken} fetched ${fetched} overflow ${overflow}`;
});
</script>"""


def opened(page: Path) -> dict[str, int]:
    """What headless Chromium says of a page: images, broken ones, files fetched, px wider than the window."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,900",
               f"--user-data-dir={page.parent / 'chromium'}", "--dump-dom"]  # fmt: skip
    found = subprocess.run([*command, probed.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", found.stdout)
    assert title is not None
    words = title[1].split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))
