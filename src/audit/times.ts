// The two ways in which CloudTrail writes times.

/** As in the record's own fields: `2026-11-24T07:45:03Z`, whole seconds. */
export const awsTime = (time: Date): string => `${time.toISOString().slice(0, 19)}Z`;

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** CloudTrail prints times inside requests and answers as Java's default format does: `Nov 24, 2026, 7:45:03 AM`. */
export function javaDate(time: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  const hour = time.getUTCHours();
  const day = `${MONTHS[time.getUTCMonth()]} ${time.getUTCDate()}, ${time.getUTCFullYear()}`;
  return `${day}, ${hour % 12 || 12}:${two(time.getUTCMinutes())}:${two(time.getUTCSeconds())} ${hour < 12 ? "AM" : "PM"}`;
}
