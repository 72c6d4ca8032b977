"""The pages in a real browser: nothing on the console, nothing wider than the window, hover and legend alive."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.report.made import make_run, make_sweep
from tgpo.report.page import write_report
from tgpo.report.sweep_page import write_sweep_report

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


@pytest.fixture(scope="module")
def sweep_page(tmp_path_factory) -> Path:
    """Three objectives, a failed run, a note, and names that are hard to fit."""
    folder = make_sweep(tmp_path_factory.mktemp("sweep"))
    long = "12_objective=tgpo,objective.weight=[0.5,0.009375,0.0],rollout.prompts_per_batch=16,train.steps=80"
    make_run(folder, "rkl", 9, status="failed", reason="RuntimeError: " + "x" * 200, name=long)
    (folder / "nothing").mkdir()
    return write_sweep_report([folder], say=lambda _: None)


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


def open_page(browser, page: Path, scheme: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())
    drawn = "return panels.every(p => document.querySelector(`#plot-${p.slug} svg path`)) && views.length"
    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(drawn) == 11)


def curves(browser, slug: str) -> int:
    lines = f"return document.querySelectorAll('#plot-{slug} g.mark-line path').length"
    return browser.execute_script(lines)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sweeps_page(browser, sweep_page, scheme):
    open_page(browser, sweep_page, scheme)
    assert browser.get_log("browser") == []
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(overflow) == 0
    # no chart is wider than its card, and no axis label is cut with an ellipsis
    wide = "return [...document.querySelectorAll('.plot')].filter(p => p.scrollWidth > p.clientWidth + 1).length"
    assert browser.execute_script(wide) == 0
    cut = "return [...document.querySelectorAll('.plot text')].filter(t => t.textContent.includes('…')).length"
    assert browser.execute_script(cut) == 0


def test_the_key_hides_an_arm_in_every_chart(browser, sweep_page):
    from selenium.webdriver.support.ui import WebDriverWait

    open_page(browser, sweep_page, "light")
    assert [curves(browser, slug) for slug in ("accuracy", "length")] == [4, 4]  # three arms, and the failed run
    key = browser.find_element("css selector", "[data-arm=rkl]")
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    WebDriverWait(browser, 10).until(lambda d: [curves(d, slug) for slug in ("accuracy", "length")] == [2, 2])
    points = "return document.querySelectorAll('#plot-forest-accuracy g.mark-symbol path').length"
    assert browser.execute_script(points) == 1  # grpo is the baseline, tgpo is left
    # what is hidden stays so in the other theme
    browser.find_element("id", "theme").click()
    WebDriverWait(browser, 10).until(lambda d: d.execute_script("return document.documentElement.dataset.theme"))
    WebDriverWait(browser, 10).until(lambda d: curves(d, "accuracy") == 2)
    browser.find_element("css selector", ".keys .all").click()
    WebDriverWait(browser, 10).until(lambda d: curves(d, "accuracy") == 4)
    assert browser.get_log("browser") == []


def test_the_theme_follows_the_system_until_it_is_chosen(browser, sweep_page):
    from selenium.webdriver.support.ui import WebDriverWait

    colour = "return getComputedStyle(document.body).backgroundColor"
    ink = "return document.querySelector('#plot-accuracy .role-axis-label text').getAttribute('fill')"
    open_page(browser, sweep_page, "dark")
    dark = browser.execute_script(colour), browser.execute_script(ink)
    browser.find_element("id", "theme").click()
    WebDriverWait(browser, 10).until(lambda driver: driver.execute_script(ink) != dark[1])
    chosen = browser.execute_script(colour), browser.execute_script(ink)
    open_page(browser, sweep_page, "light")
    assert (browser.execute_script(colour), browser.execute_script(ink)) == chosen
    assert chosen[0] != dark[0]


def test_hover_tells_the_numbers(browser, sweep_page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    open_page(browser, sweep_page, "light")
    plot = browser.find_element("css selector", "#plot-accuracy svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(browser).move_to_element(plot).move_by_offset(5, 5).perform()
    told = "return document.querySelector('#vg-tooltip-element.visible')?.innerText ?? ''"
    WebDriverWait(browser, 10).until(lambda driver: "lowest" in driver.execute_script(told))
