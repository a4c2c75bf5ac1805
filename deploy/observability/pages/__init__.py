"""The dashboards, a module each."""

from deploy.observability.pages import drift, models, overview, quality, reliability

PAGES = (overview.PAGE, models.PAGE, drift.PAGE, reliability.PAGE, quality.PAGE)
"""In the order in which somebody on call looks at them."""
