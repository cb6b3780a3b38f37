/** States that only the fake gateway can be made to show. */
export async function states() {}
