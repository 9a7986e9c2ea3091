import { chromium } from "playwright-core";

export const launchBrowser = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM,
    // Neither a sandbox nor a GPU is to be had in most containers, and nothing here is to be called but localhost.
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ],
  });
