"""Searches: state, studies, planning, driver, backends and jobs, and the commands that join them; never `report`."""
