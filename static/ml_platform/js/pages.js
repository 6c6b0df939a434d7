/** The scripts of every page. All pages also work without them, with forms and links. */

import "./actions.js";
import "./compare.js";
import "./copy.js";
import "./live.js";
import "./models_registry.js";
import "./plan.js";
import "./times.js";
import "./tips.js";
