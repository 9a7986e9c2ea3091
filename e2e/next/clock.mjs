// Sets the clock of a process back by CLOCK_BEHIND seconds, so that its tokens expire so much earlier.
const SystemDate = Date;
const now = () => SystemDate.now() - 1000 * Number(process.env.CLOCK_BEHIND);

globalThis.Date = class extends SystemDate {
  static now = now;

  constructor(...values) {
    super(...(values.length ? values : [now()]));
  }
};
