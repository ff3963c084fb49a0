"""Creates that must fail. `CASES` is a JSON object from a name to the metadata; prints, by name, what was raised."""

import json
import os

from e2b_code_interpreter import Sandbox

raised = {}
for name, metadata in json.loads(os.environ["CASES"]).items():
    try:
        sbx = Sandbox.create(template="code-interpreter-inject-test", timeout=300, metadata=metadata)
        raised[name] = {"type": None, "text": f"created {sbx.sandbox_id}"}
        sbx.kill()
    except Exception as error:
        raised[name] = {"type": type(error).__name__, "text": str(error)}
print(json.dumps(raised))
