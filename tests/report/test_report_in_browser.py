"""The report in a real browser: no request, no error, sorting and filtering, a phone's width, hostile names."""

import json
import shutil

import pytest
from test_report_command import hostile_run

from nnunet_nacl.cli import main
from nnunet_nacl.report.html import render
from nnunet_nacl.report.page_content import Options, prepare_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs Chromium and chromedriver (Debian: apt-get install chromium chromium-driver)",
)


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # a container has no user namespace for the sandbox, and little /dev/shm
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(evaluated, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    runs = [str(evaluated.truth), str(evaluated.sharp)]
    assert main(["report", *runs, "--images", str(evaluated.images), "-o", str(path)]) == 0
    return path


def opened(browser, path, width=1280):
    browser.get_log("performance")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())


def requests(browser):
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def test_no_request_and_no_error(browser, page):
    opened(browser, page)
    assert browser.get_log("browser") == []
    asked = requests(browser)
    assert page.as_uri() in asked
    assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []
    # the style sheet came through its own policy
    assert browser.execute_script("return getComputedStyle(document.querySelector('.cards')).display") == "grid"


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(browser, page, width):
    opened(browser, page, width)
    assert browser.execute_script("return window.innerWidth") == width
    # up to a scroll bar
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


CUT = """
const found = [];
for (const box of document.querySelectorAll('.scroll')) {
  const frame = box.getBoundingClientRect();
  if (!frame.width) continue;
  for (const cell of box.querySelectorAll('.number')) {
    const style = getComputedStyle(cell);
    if (style.visibility === 'hidden') continue;
    const range = document.createRange();
    range.selectNodeContents(cell);
    const text = range.getBoundingClientRect();
    const sticky = cell.parentElement.cells[0].getBoundingClientRect();
    const left = box.scrollLeft > 0 ? sticky.right : frame.left;
    const outside = text.left >= frame.right - 1 || text.right <= left + 1;
    const inside = text.left >= left - 1 && text.right <= frame.right + 1;
    if (!outside && !inside) found.push(cell.textContent);
  }
}
return found;
"""


@pytest.mark.parametrize("width", [390, 700, 900, 1280])
def test_no_number_is_cut(browser, page, width):
    opened(browser, page, width)
    browser.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
    for place in (0, 60, 10000):
        browser.execute_script(
            "document.querySelectorAll('.scroll').forEach(box => box.scrollLeft = arguments[0])", place
        )
        browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        assert browser.execute_script(CUT) == []


def test_tables_that_do_not_fit_are_seen_to_scroll(browser, page):
    boxes = (
        "return [...document.querySelectorAll('.scroll')].filter(box => box.checkVisibility({contentVisibilityAuto: true})).map(box => "
        "[box.scrollWidth > box.clientWidth + 1, !box.previousElementSibling.hidden])"
    )
    opened(browser, page, 700)
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    found = browser.execute_script(boxes)
    assert [True, True] in found
    assert all(scrolls == told for scrolls, told in found)
    # a phone has no table that scrolls
    opened(browser, page, 390)
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert [True, True] not in browser.execute_script(boxes)


def test_a_phone_says_what_each_number_is(browser, page):
    opened(browser, page, 390)
    labels = (
        "return [...document.querySelectorAll('td.number')].filter(cell => cell.offsetWidth)"
        ".map(cell => getComputedStyle(cell, '::before').content)"
    )
    found = browser.execute_script(labels)
    assert found and all(content not in ("none", '""') for content in found)


def test_dark_and_light(browser, page):
    colors = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        opened(browser, page)
        colors.append(browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor"))
    assert colors == ["rgb(251, 251, 249)", "rgb(20, 24, 29)"]


def test_sorting_and_filtering(browser, page):
    from selenium.webdriver.common.by import By

    opened(browser, page)
    names = "return [...document.querySelectorAll('table.sortable thead th')].map(head => head.textContent)"
    column = browser.execute_script(names).index("NLL")
    values = (
        "return [...document.querySelectorAll('table.sortable tbody tr')]"
        f".map(row => Number(row.cells[{column}].dataset.value))"
    )
    button = browser.find_elements(By.CSS_SELECTOR, "table.sortable thead th button")[column]
    before = browser.execute_script(values)
    assert before not in (sorted(before), sorted(before, reverse=True))
    for descending in (False, True):
        browser.execute_script("arguments[0].click()", button)
        assert browser.execute_script(values) == sorted(before, reverse=descending)
    browser.find_element(By.CSS_SELECTOR, ".filter input").send_keys("phantom_002")
    shown = "return [...document.querySelectorAll('table.sortable tbody tr')].filter(row => !row.hidden).length"
    assert browser.execute_script(shown) == 2
    assert browser.find_element(By.CSS_SELECTOR, ".filter output").text == "2 of 12"


def test_hostile_names_run_nothing(browser, evaluated, tmp_path):
    path = tmp_path / "hostile.html"
    path.write_text(render(prepare_page([hostile_run(evaluated.truth)], Options())), encoding="utf-8")
    opened(browser, path)
    assert browser.execute_script("return window.hacked") is None
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('table.sortable thead th button').length") > 5
