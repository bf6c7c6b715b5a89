"""What files are called. Apart from whoever reads them, so that listing scenarios needs nothing that reads one."""

from __future__ import annotations

CAMPAIGN_FILE = "campaign.toml"
