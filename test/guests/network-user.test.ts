import { openFabric } from "../../src/network/fabric.ts";
import { fabricSuite } from "../support/network-fabric-suite.ts";

fabricSuite("user-space network", (options) => openFabric({ ...options, prefer: "user" }));
