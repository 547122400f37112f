"""The component that draws each type of widget, by Blynk's types of the web and the mobile dashboards."""

from __future__ import annotations

from collections.abc import Mapping

from tui.themes import Look
from tui.widgets import cells, cells_special
from tui.widgets.cell_model import CellWidget

_TYPES: Mapping[type[cells.Component], str] = {
    cells.Value: "label value labeled_value formatted_text lcd icon",
    cells.Gauge: "gauge radial_gauge enhanced_gauge level gradient_ramp",
    cells.Led: "led",
    cells.Toggle: "switch button styled_button icon_button image_button",
    cells.Range: "slider vertical_slider step_slider vertical_step_slider level_slider level_slider_switch step"
    " number_input numeric_input",
    cells.Choice: "menu segmented_switch icon_segmented_switch",
    cells.Sparkline: "chart custom_chart simple_chart super_chart",
    cells_special.Text: "text_input time_input",
    cells_special.Terminal: "terminal",
    cells_special.ColorCell: "rgb_light zergba",
    cells_special.Stick: "joystick",
    cells_special.Place: "map",
    cells_special.Media: "image_gallery image_animation lottie_animation video web_page_button web_page_image_button",
    cells_special.Bits: "bitmask_table",
    cells_special.Alarm: "alarm",
    cells_special.Music: "music_player",
    cells_special.Caption: "text dynamic_spacer",
}
#: Not among them, so that their cells say so and display the values: alias, heatmap, modules, slope_control.
COMPONENTS: Mapping[str, type[cells.Component]] = {
    name: component for component, names in _TYPES.items() for name in names.split()
}


def component_of(widget: CellWidget, look: Look) -> cells.Component:
    """Return the component that draws a widget; one that says so for an unknown type."""
    return COMPONENTS.get(widget.type, cells_special.Unknown)(widget, look)
