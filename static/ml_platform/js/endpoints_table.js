/** The Endpoints table: an endpoint whose model was deleted cannot be deployed again. */

import { guard } from "./actions.js";

guard((form) => {
  const deleted = form.closest("tr")?.querySelector(".model-deleted");
  return deleted && form.action.includes("/redeploy/")
    ? "The model was deleted; this endpoint cannot be restored."
    : "";
});
