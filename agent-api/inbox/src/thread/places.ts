/** Where a place can be seen; the numbers come from outside and are numbers when they get here. */
export function mapHref(place: { latitude: number; longitude: number }): string {
  const [latitude, longitude] = [Number(place.latitude).toFixed(6), Number(place.longitude).toFixed(6)];
  return `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=16/${latitude}/${longitude}`;
}
