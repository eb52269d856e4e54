import { openFabric } from "../../src/network/fabric.ts";
import { fabricSuite } from "../support/network-fabric-suite.ts";

fabricSuite("kernel network", (options) => openFabric({ ...options, prefer: "kernel" }));
