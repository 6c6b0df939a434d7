/** What every page runs. Without it all of them still work: forms post and links lead. */

import "./actions.js";
import "./compare.js";
import "./copy.js";
import "./endpoints_table.js";
import "./live.js";
import "./models_registry.js";
import "./plan.js";
import "./times.js";
import "./tips.js";
