"""The page in a real browser: nothing on the console, nothing wider than the window, hover and legend alive."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from tgpo.report.page import write_report

pytestmark = pytest.mark.slow

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--force-device-scale-factor=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """A run's files with every metric the panels draw."""
    run = tmp_path_factory.mktemp("run")
    (run / "config.yaml").write_text(
        "name: x\nseed: 1\nchoices: {objective: tgpo}\nstudent: {name: s}\nteacher: {name: t}\n"
        "rollout: {max_response_length: 96}\ntrain: {steps: 30}\n"
    )
    reward, response = ("mean", "solved_groups"), ("length_mean", "length_p95", "truncated_fraction")
    gradient = ("norm", "variance", "noise_scale", "snr")
    divergence = ("reverse_kl_k1", "mismatch", "topk_overlap")
    groups = {"reward": reward, "response": response, "gradient": gradient, "divergence": divergence}
    names = [f"{group}/{name}" for group, members in groups.items() for name in members]
    lines = [{"kind": "eval", "step": k, "eval/arithmetic/accuracy": k / 40} for k in (0, 10, 20, 30)]
    lines += [{"kind": "train", "step": k, **dict.fromkeys(names, 0.5 + 0.01 * k)} for k in range(1, 31)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sample = {"step": 1, "prompt": "1+1", "answer": "2", "response": "x" * 96, "reward": 0.0, "length": 96,
              "finish_reason": "length"}  # fmt: skip
    (run / "rollouts.jsonl").write_text(json.dumps(sample) + "\n")
    return write_report(run)


@pytest.fixture(params=[380, 1440])
def browser(request):
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver on this machine (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tempfile.mkdtemp()}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    # a window cannot be as narrow as a phone; its metrics can
    metrics = {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": request.param < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield driver
    driver.quit()


def test_page(browser, page):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(page.as_uri())
    drawn = "return [...document.querySelectorAll('.plot')].every(p => p.querySelector('svg path'))"
    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(drawn))
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(overflow) == 0
    assert browser.execute_script("return document.querySelectorAll('.plot').length") == 8


def test_the_legend_hides_the_other_curves(browser, page):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(page.as_uri())
    faint = (
        "return [...document.querySelectorAll('#plot-reward g.mark-line path')]"
        ".filter(p => (p.getAttribute('opacity') ?? '1') < 0.5).length"
    )
    ready = "return document.querySelectorAll('#plot-reward .role-legend-symbol path').length"
    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(ready) == 2)
    assert browser.execute_script(faint) == 0
    symbol = browser.find_element("css selector", "#plot-reward .role-legend-symbol path")
    click = "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    browser.execute_script(click, symbol)
    WebDriverWait(browser, 10).until(lambda driver: driver.execute_script(faint) == 1)
