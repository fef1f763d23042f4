/*
 * Compiles scripts to the conversion phase, where QuPath's classes are not needed yet, and says what they refer to.
 * Inputs: paths. Output: one JSON document: per path the error, or imports, calls, properties, classes and own methods.
 */

import groovy.json.JsonOutput
import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.expr.ClassExpression
import org.codehaus.groovy.ast.expr.ConstructorCallExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.expr.PropertyExpression
import org.codehaus.groovy.ast.expr.StaticMethodCallExpression
import org.codehaus.groovy.ast.expr.VariableExpression
import org.codehaus.groovy.control.CompilationFailedException
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases

class Collector extends CodeVisitorSupport {
    Set calls = new TreeSet()
    Set properties = new TreeSet()
    Set made = new TreeSet()
    Set names = new TreeSet()

    void visitMethodCallExpression(MethodCallExpression call) {
        calls << (call.isImplicitThis() ? '' : '.') + call.getMethodAsString()
        super.visitMethodCallExpression(call)
    }

    void visitStaticMethodCallExpression(StaticMethodCallExpression call) {
        calls << call.getMethod()
        super.visitStaticMethodCallExpression(call)
    }

    void visitConstructorCallExpression(ConstructorCallExpression call) {
        made << call.getType().getName()
        super.visitConstructorCallExpression(call)
    }

    void visitPropertyExpression(PropertyExpression property) {
        properties << property.getObjectExpression().getText() + '.' + property.getPropertyAsString()
        super.visitPropertyExpression(property)
    }

    void visitVariableExpression(VariableExpression variable) {
        names << variable.getName()
    }

    void visitClassExpression(ClassExpression expression) {
        names << expression.getType().getName()
    }
}

Map look(String path) {
    def unit = new CompilationUnit()
    unit.addSource(new File(path))
    try {
        unit.compile(Phases.CONVERSION)
    } catch (CompilationFailedException failure) {
        return [error: failure.getMessage()]
    }
    def found = new Collector()
    def own = [] as Set
    def imports = [] as Set
    unit.getAST().getModules().each { module ->
        imports.addAll(module.getImports().collect { it.getClassName() })
        module.getStatementBlock().visit(found)
        module.getMethods().each { method ->
            own << method.getName()
            method.getCode().visit(found)
        }
    }
    return [error: null, imports: imports, own: own, calls: found.calls, properties: found.properties,
            made: found.made, names: found.names]
}

println JsonOutput.toJson(args.collectEntries { [(it): look(it)] })
