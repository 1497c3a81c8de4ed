"""Errors: which link failed, whether to try again, what to do, and what had arrived.

Run it with: python errors.py [BASE_URL]
"""

import sys

import loom

BASE_URL = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000/v1"

agent = loom.agent(base_url=BASE_URL, model="no-such-model", max_retries=0)
try:
    print(agent.run_sync("Hello!").content)
except loom.NotFoundError as error:
    print("The server answers, but does not have this:", error.message)
    print("Hint:", error.hint)
except loom.APIConnectionError as error:
    print("The server cannot be reached:", error.message)
    print("Hint:", error.hint)
except loom.LLMError as error:
    # Every failed model call ends up here; `kind` names one of fifteen.
    print(f"{error.kind}: {error.message} (HTTP {error.status_code}, retryable: {error.retryable})")
    if error.partial is not None:
        print("Until then:", error.partial.content)
