"""A plugin of pytest: hypothesis only says that there is a counterexample, not a short one."""

from hypothesis import Phase, settings

settings.register_profile("hasty", phases=[Phase.explicit, Phase.generate])
settings.load_profile("hasty")
