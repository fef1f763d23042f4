package qupath.lib.roi.interfaces

class ROI {
    List rings

    Geometry getGeometry() { new Geometry(rings: rings) }
    double getCentroidX() { getGeometry().getCentroid().getX() }
    double getCentroidY() { getGeometry().getCentroid().getY() }
}

/** What JTS says of a polygon. */
class Geometry {
    List rings

    double getArea() { Math.abs(sums()[0]) }
    Place getCentroid() {
        def sum = sums()
        return new Place(x: sum[1] / sum[0], y: sum[2] / sum[0])
    }
    Box getEnvelopeInternal() { new Box(xs: rings[0].collect { it[0] }, ys: rings[0].collect { it[1] }) }

    /** Area and first moments; holes count less. */
    List sums() {
        double area = 0, x = 0, y = 0
        rings.eachWithIndex { ring, number ->
            double a = 0, mx = 0, my = 0
            for (int i = 0; i + 1 < ring.size(); i++) {
                double cross = ring[i][0] * ring[i + 1][1] - ring[i + 1][0] * ring[i][1]
                a += cross / 2
                mx += (ring[i][0] + ring[i + 1][0]) * cross / 6
                my += (ring[i][1] + ring[i + 1][1]) * cross / 6
            }
            double sign = (a < 0 ? -1 : 1) * (number == 0 ? 1 : -1)
            area += sign * a
            x += sign * mx
            y += sign * my
        }
        return [area, x, y]
    }
}

class Place {
    double x
    double y
}

class Box {
    List xs
    List ys

    double getMinX() { xs.min() }
    double getMaxX() { xs.max() }
    double getMinY() { ys.min() }
    double getMaxY() { ys.max() }
}
