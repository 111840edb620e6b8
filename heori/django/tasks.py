"""What HEORI_TASKS names for a Django project: the tasks of all installed applications.

To import it sets Django up, by DJANGO_SETTINGS_MODULE, and imports the module `tasks` of each
application, which has Django's tasks register. Those in other modules are named beside it.
"""

import django
from django.utils.module_loading import autodiscover_modules

from heori.django.running import runners

django.setup()
autodiscover_modules("tasks")
# By these the consumer sees that there are tasks, also where another has imported them before.
globals().update({f"run {number}": runner for number, runner in enumerate(runners())})
